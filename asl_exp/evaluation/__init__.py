"""What a kept model is worth: scores, figures and the folder that holds them."""
