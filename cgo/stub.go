//go:build !cgo || nonative

package cgo

import "github.com/stepd/stepd/sessions/engine"

// Available tells whether this program contains the native core.
const Available = false

// Open returns an error: this program was built without the native core.
func Open() (engine.Engine, error) {
	return nil, engine.Errorf(engine.Unsupported, "this program was built without the native core; build it with cgo enabled and without the tag nonative")
}
