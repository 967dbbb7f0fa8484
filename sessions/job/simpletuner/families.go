package simpletuner

// Families lists the model families that this version trains, by every name that is accepted.
func Families() []string { return sortedKeys(families) }

// Flavours lists the published models of a family, and the one that is used when none is named; ok tells whether the
// family is known.
func Flavours(name string) (flavours []string, fallback string, ok bool) {
	f, ok := families[name]
	return sortedKeys(f.flavours), f.flavour, ok
}
