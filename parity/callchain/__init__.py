"""Which of our functions a job enters, and in which order."""
