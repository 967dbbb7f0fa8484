package fake

import (
	"strings"
	"syscall"

	"github.com/stepd/stepd/sessions/engine"
)

// GateName is a named pipe in the model folder: when it is there, every step first reads one byte from it, so that a
// test decides when steps happen. Cancel lets one step through.
const GateName = "gate"

const nonblock = syscall.O_NONBLOCK

// Faults order an engine to fail. Steps count from 1; zero means never.
type Faults struct {
	FailAt   int64       // Train returns FailCode instead of applying this step
	FailCode engine.Code // of FailAt
	CrashAt  int64       // the process kills itself with CrashSignal before applying this step
	// CrashSignal is SIGKILL when zero.
	CrashSignal syscall.Signal
	HangAt      int64       // this step never ends, whatever Cancel says
	OpenCode    engine.Code // Open fails
	SampleCode  engine.Code // Sample fails
	EvalCode    engine.Code // Evaluate fails
	PreviewCode engine.Code // Sample fails when previews are asked for
	PreviewEnds int64       // the preview of this sampling step cannot be made
	SaveCode    engine.Code // Save fails after writing half of its files
	SaveFrom    int64       // SaveCode applies from this step on
	Memory      int64       // Plan.Total
}

const prefix = "fake_"

// Order adds faults to a configuration.
func (f Faults) Order(config *engine.Config) {
	params := map[string]float64{}
	for name, value := range config.Optimizer.Params {
		if !strings.HasPrefix(name, prefix) {
			params[name] = value
		}
	}
	for name, value := range map[string]int64{
		"fail_at": f.FailAt, "fail_code": int64(f.FailCode), "crash_at": f.CrashAt, "crash_signal": int64(f.CrashSignal),
		"hang_at": f.HangAt, "open_code": int64(f.OpenCode), "sample_code": int64(f.SampleCode), "eval_code": int64(f.EvalCode),
		"preview_code": int64(f.PreviewCode), "preview_ends": f.PreviewEnds,
		"save_code": int64(f.SaveCode), "save_from": f.SaveFrom, "memory": f.Memory,
	} {
		if value != 0 {
			params[prefix+name] = float64(value)
		}
	}
	config.Optimizer.Params = params
}

func faultsOf(config engine.Config) Faults {
	get := func(name string) int64 { return int64(config.Optimizer.Params[prefix+name]) }
	f := Faults{
		FailAt: get("fail_at"), FailCode: engine.Code(get("fail_code")), CrashAt: get("crash_at"),
		CrashSignal: syscall.Signal(get("crash_signal")), HangAt: get("hang_at"), OpenCode: engine.Code(get("open_code")),
		SampleCode: engine.Code(get("sample_code")), EvalCode: engine.Code(get("eval_code")), PreviewCode: engine.Code(get("preview_code")), PreviewEnds: get("preview_ends"), SaveCode: engine.Code(get("save_code")), SaveFrom: get("save_from"),
		Memory: get("memory"),
	}
	if f.CrashSignal == 0 {
		f.CrashSignal = syscall.SIGKILL
	}
	return f
}

// beforeStep carries out what is ordered for a step.
func (s *session) beforeStep(step int64) error {
	if step == s.faults.CrashAt {
		_ = syscall.Kill(syscall.Getpid(), s.faults.CrashSignal)
		select {}
	}
	if step == s.faults.HangAt {
		select {}
	}
	if step == s.faults.FailAt {
		code := s.faults.FailCode
		s.poisoned = code == engine.DeviceLost || code == engine.Internal
		return engine.Errorf(code, "step %d: ordered to fail", step)
	}
	return nil
}
