"""The program's one name among installed packages; everything else lies below it."""
