"""You are the scheduler: a page in the browser on which a player chooses who goes on."""
