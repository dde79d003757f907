"""What a course needs beside the checks: starting folders, bug hunts, exhibits, and the notebooks' own functions."""
