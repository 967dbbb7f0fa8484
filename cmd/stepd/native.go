package main

import (
	"github.com/stepd/stepd/cgo"
	"github.com/stepd/stepd/sessions/engine"
)

// native opens the core that this binary is linked with.
func native() (engine.Engine, error) { return cgo.Open() }
