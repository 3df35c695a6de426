"""Files: NPZ scans."""
