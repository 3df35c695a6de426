"""Files: scans in NPZ and HDF5."""
