"""`fairuse explain`: an action's evidence computed again, and a page to read out."""
