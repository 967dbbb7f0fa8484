package cgo

// library is the hash of the archive that the program was linked with, set by the Makefile through the linker. The go command
// does not see changes of a static archive; a changed value makes it link again.
var library = "unknown"

// Library identifies the native archive that this program contains.
func Library() string { return library }
