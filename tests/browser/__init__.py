"""Tests in a real browser. This file makes the folder a package, so that fixtures can live as long as its tests run."""
