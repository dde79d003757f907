"""Other ways to write the same server, for the bench: each speaks just enough of grupo/1 to be measured, and keeps nothing."""
