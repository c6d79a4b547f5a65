"""What lies on disk: workdirs, their steps, imported and Hugging Face directories; finding and loading them."""
