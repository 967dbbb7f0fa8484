//go:build cgo && !nonative

package cgo

/*
#cgo CFLAGS: -I${SRCDIR}/../native/include
#cgo LDFLAGS: -L${SRCDIR}/../build/native -lstepd_core -ljpeg -lpng -lwebpdemux -lwebp -llcms2 -lz -lstdc++ -lm -lpthread
#include <stdlib.h>
#include "stepd/stepd.h"

enum { header_abi_version = STEPD_ABI_VERSION };
*/
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"unsafe"

	"github.com/stepd/stepd/sessions/engine"
)

// Available tells whether this program contains the native core.
const Available = true

// Open returns the native core. It refuses a library whose interface is not that of the header this package was compiled with.
func Open() (engine.Engine, error) {
	if have := int(C.stepd_abi_version()); have != int(C.header_abi_version) {
		return nil, engine.Errorf(engine.Internal, "the native library has interface version %d and the program expects %d; "+
			"run: make native && go clean -cache", have, int(C.header_abi_version))
	}
	n := &native{}
	if err := call(nil, func(_ input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status { return C.stepd_info(out, e) }, &n.info); err != nil {
		return nil, err
	}
	return n, nil
}

// native implements engine.Engine.
type native struct{ info engine.Info }

var _ engine.Engine = (*native)(nil)

func (n *native) Info() engine.Info { return n.info }

func (n *native) Probe(path string) (picture engine.Picture, err error) {
	err = callBytes([]byte(path), func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_probe(in.data, in.size, out, e)
	}, &picture)
	return picture, err
}

func (n *native) Plan(ctx context.Context, config engine.Config, shapes []engine.Shape) (plan engine.Plan, err error) {
	request := struct {
		Config engine.Config  `json:"config"`
		Shapes []engine.Shape `json:"shapes"`
	}{config, shapes}
	err = cancellable(ctx, func(c *C.stepd_cancellation) error {
		return call(request, func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
			return C.stepd_plan(in.data, in.size, c, out, e)
		}, &plan)
	})
	return plan, err
}

// cancellable makes a call of a function that has no session yet. When ctx ends, the call is asked to stop and still waited for.
func cancellable(ctx context.Context, f func(c *C.stepd_cancellation) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := C.stepd_cancellation_new()
	defer C.stepd_cancellation_free(c)
	asked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(asked)
		C.stepd_cancellation_set(c)
	})
	defer func() {
		if !stop() { // it has started, and uses c
			<-asked
		}
	}()
	return f(c)
}

func (n *native) InitModel(request engine.InitModel) error {
	return call(request, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_init_model(in.data, in.size, e)
	}, nil)
}

// BenchRequest selects what Bench measures.
type BenchRequest struct {
	Cases   []string `json:"cases"` // empty: all
	Steps   int      `json:"steps"`
	Warmup  int      `json:"warmup"`
	Profile bool     `json:"profile"`
}

// Bench times training steps on random data and returns a JSON object for each case, with the field names of the PyTorch
// scripts that measure the same cases.
func Bench(request BenchRequest) (rows []json.RawMessage, err error) {
	err = call(request, func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_bench(in.data, in.size, out, e)
	}, &rows)
	return rows, err
}

// input is a request in C's terms, borrowed for one call.
type input struct {
	data *C.char
	size C.size_t
}

type function func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status

// call sends request as JSON and decodes the answer into result; both may be nil.
func call(request any, f function, result any) error {
	var data []byte
	if request != nil {
		var err error
		if data, err = json.Marshal(request); err != nil {
			return fmt.Errorf("encode request to the core: %w", err)
		}
	}
	return callBytes(data, f, result)
}

func callBytes(data []byte, f function, result any) error {
	var in input
	if len(data) > 0 {
		in = input{(*C.char)(unsafe.Pointer(&data[0])), C.size_t(len(data))}
	}
	var out C.stepd_buffer
	var failure C.stepd_error
	failure.struct_size = C.size_t(unsafe.Sizeof(failure))
	status := f(in, &out, &failure)
	defer C.stepd_buffer_free(&out)
	if status != C.STEPD_OK {
		return &engine.Error{Code: engine.Code(status), Place: C.GoString(&failure.place[0]), Message: C.GoString(&failure.message[0])}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(unsafe.Slice((*byte)(unsafe.Pointer(out.data)), int(out.size)), result); err != nil {
		return engine.Errorf(engine.Internal, "decode answer of the core: %v", err)
	}
	return nil
}

// live is the number of sessions and buffers that the core has not freed, for tests.
func live() int64 { return int64(C.stepd_debug_live()) }
