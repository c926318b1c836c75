"""How actions are carried out: one file for each kind of enforcement system."""
