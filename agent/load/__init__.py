"""What is so: the chain at one block, AWS in one listing a region, and what is remembered."""
