"""Puts the pair beside an app and takes it away again: Kubernetes objects in, Kubernetes objects out."""
