"""Synthetic anomalies made from good photographs."""
