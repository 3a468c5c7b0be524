"""The composition root: settings, urls, wiring, servers, health. Imports all; imported by none."""
