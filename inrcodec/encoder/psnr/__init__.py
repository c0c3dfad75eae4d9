"""A PSNR that is requested: the file of the fewest bytes that has it."""
