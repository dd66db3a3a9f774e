"""Stand-ins for Google on a laptop: an Auth emulator that signs its ID tokens, and a metadata server per service."""
