"""The images and the composed deployment, built and broken for real."""
