// Package cgo runs the native core: it implements engine.Engine over the C interface of native/include/stepd/stepd.h and is
// the only package that knows C. It may be embedded on its own (see examples/embed).
//
// The core is linked statically: `make native` builds it into build/native, and a program that embeds this package needs that
// build beside the module. Without cgo, or with the build tag nonative, the package compiles to a stub whose Open returns an
// error and whose constant Available is false.
//
// Concurrency: the methods of one Session are called by one goroutine at a time, except Cancel. A blocking call outlives its
// context by at most the work between two safe points: when the context ends, the call is cancelled and still waited for.
// Events arrive at the Sink from a goroutine of the session, in order, while the call that causes them runs, and all of them
// before that call returns.
package cgo
