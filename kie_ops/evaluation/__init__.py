"""What a memory is worth: strict scores, streams with reviews, controls, attacks, calibration."""
