"""Training of the text model, and fitting of the gates on top of it."""
