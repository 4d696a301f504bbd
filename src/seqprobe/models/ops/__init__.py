"""Maths that several architectures share, each fast form beside the naive one it must equal."""
