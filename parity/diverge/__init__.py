"""Where two backends part: stages walked with shared inputs, then as the programs run."""
