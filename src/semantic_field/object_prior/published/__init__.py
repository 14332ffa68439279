"""The published Semantic SRN: hypernetwork, LSTM ray marcher, pixel generator, losses."""
