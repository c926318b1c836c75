"""The rules over files, without a broker."""
