"""Wire formats as pure codecs: one family of files per vendor, bytes on one side and `kernel.chat` on the other."""
