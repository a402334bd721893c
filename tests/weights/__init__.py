"""Tests of weight interchange."""
