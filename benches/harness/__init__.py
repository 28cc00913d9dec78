"""Runs libbge and its peers in turns, and keeps and shows what came of it."""
