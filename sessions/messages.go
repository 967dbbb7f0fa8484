package sessions

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/run"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

// handle takes one message of the worker. It runs in the actor's goroutine, as everything in this file.
func (a *actor) handle(m worker.Message) {
	switch m.Type {
	case worker.TypeLog:
		a.session.log.add(m.Line)
	case worker.TypeWarning:
		a.warn(m.Line)
	case worker.TypeSettled:
		a.settled(m.Line)
	case worker.TypeProgress:
		a.progress(*m.Progress)
	case worker.TypePlan:
		a.plan(m.ID, *m.Plan)
	case worker.TypeReady:
		a.setReady(*m.Ready)
	case worker.TypeRunning:
		if a.state.State == Initializing || a.state.State == Paused {
			a.setState(Running, "training")
		}
	case worker.TypeStep:
		a.step(*m.StepEvent)
	case worker.TypeCheckpoint:
		a.checkpoint(m.ID, m.Checkpoint)
	case worker.TypeRemoved:
		a.removed(m.Step, m.Path, m.Line)
	case worker.TypeSample:
		a.sample(*m.Sample)
	case worker.TypePreview:
		a.preview(*m.Preview)
	case worker.TypeScript:
		a.script(*m.Script)
	case worker.TypeSampleFailed:
		a.emit(KindSampleFailed, MessageEvent{Code: codeName(m.Error.Code), Message: m.Error.Message})
	case worker.TypeEvaluation:
		a.evaluation(EvaluationEvent{Attempt: a.state.Attempt}, *m.Evaluation)
	case worker.TypeEvalFailed:
		a.emit(KindEvaluationFailed, MessageEvent{Code: codeName(m.Error.Code), Message: m.Error.Message})
	case worker.TypePaused:
		a.paused(m.Step)
	case worker.TypeFinished:
		a.workFinished(m)
	}
}

// maxWarnings bounds the list in the snapshot; all warnings are events.
const maxWarnings = 100

func (a *actor) warn(message string) {
	if count := len(a.state.Warnings); count < maxWarnings {
		// The published snapshot shares the list, so it is copied.
		a.state.Warnings = append(a.state.Warnings[:count:count], message)
	}
	a.emit(KindWarning, MessageEvent{Message: message})
	a.session.log.add("warning: " + message)
}

// settled takes a warning that is over out of the snapshot; its event stays.
func (a *actor) settled(message string) {
	a.state.Warnings = slices.DeleteFunc(slices.Clone(a.state.Warnings), func(warning string) bool { return warning == message })
	a.change.dirty = true
	a.session.log.add("this is over: " + message)
}

// stageInterval is the least time between two events of progress.
const stageInterval = time.Second

// progress makes events of the first, the last and, in between, one report a second.
func (a *actor) progress(e engine.ProgressEvent) {
	stage := StageEvent{Stage: e.Stage, Done: e.Done, Total: e.Total}
	now := a.session.manager.now()
	if stage.Stage == a.state.Stage.Stage && stage.Done != stage.Total && now.Sub(a.lastStage) < stageInterval {
		a.state.Stage = stage
		return
	}
	a.setStage(stage)
	a.lastStage = now
}

func (a *actor) setStage(stage StageEvent) {
	a.state.Stage = stage
	a.emit(KindStage, stage)
}

// plan waits for memory on behalf of the worker.
func (a *actor) plan(id int64, plan engine.Plan) {
	a.state.Plan = &plan
	a.emit(KindPlan, plan)
	if a.state.State == Aborting || a.stopping {
		return // the worker ends by the request that is on its way
	}
	a.setStage(StageEvent{Stage: "queued"})
	ctx, w, device := a.workContext(), a.worker, a.session.job.Engine.Device
	go func() {
		release, err := a.session.manager.memory.acquire(ctx, device, plan)
		if !a.post(func() { a.admitted(w, id, release, err) }) && release != nil {
			release()
		}
	}()
}

func (a *actor) admitted(w *worker.Worker, id int64, release func(), err error) {
	if a.worker != w {
		if release != nil {
			release()
		}
		return
	}
	a.release = release
	answer := worker.Message{Type: worker.TypeAcknowledged, ID: id}
	if err != nil {
		answer.Error = &worker.Failure{Code: engine.Cancelled, Message: err.Error()}
		var failure *engine.Error
		if errors.As(err, &failure) {
			answer.Error.Code = failure.Code
		}
	}
	a.sendAfterCommit(answer)
}

// setReady takes over where the run really starts.
func (a *actor) setReady(ready run.Ready) {
	a.ready = &ready
	if ready.Resumed != nil && ready.Step > a.state.LastCheckpointStep() {
		steps, err := run.ReadSteps(ready.Resumed.Path)
		if err != nil {
			a.warn("steps before the resumed checkpoint: " + err.Error())
		}
		a.takeOver(steps)
	}
	a.rebase(ready.Step)
	a.state.Epoch, a.state.Epochs = ready.Epoch, ready.Epochs
	a.state.LastCheckpoint = nil
	a.syncCheckpoints(ready.Kept)
	if ready.Resumed != nil {
		resumed := describeCheckpoint(ready.Resumed)
		a.state.LastCheckpoint = &resumed
		a.emit(KindResumed, ResumedEvent{Step: ready.Step, Checkpoint: resumed.Path, Changed: ready.Changed})
	}
	a.sendAfterCommit(worker.Message{Type: worker.TypeAllow, Step: a.state.Allowed})
}

// syncCheckpoints makes the index that of the run folder.
func (a *actor) syncCheckpoints(kept []*checkpoint.Info) {
	steps := map[int64]bool{}
	for _, info := range kept {
		steps[info.Manifest.Step] = true
		a.recordCheckpoint(describeCheckpoint(info))
	}
	rows, err := a.session.manager.store.Checkpoints(context.Background(), a.session.key)
	if err != nil {
		a.warn("index of checkpoints: " + err.Error())
		return
	}
	for _, row := range rows {
		if !steps[row.Step] {
			a.change.update.Removed = append(a.change.update.Removed, row.Step)
		}
	}
}

func (a *actor) step(e engine.StepEvent) {
	a.state.Completed = e.Step
	a.state.Epoch = a.epochOf(e.Step)
	report := StepEvent{Attempt: a.state.Attempt, Step: e.Step, Epoch: a.state.Epoch, Loss: e.Loss, LR: e.LR, GradNorm: e.GradNorm, Seconds: e.Seconds}
	if a.ready != nil {
		report.MicroBatch = a.ready.BatchAt(e.Step)
	}
	a.report(report)
}

// takeOver makes the events of steps that led to a checkpoint and that nobody could report: those of a worker whose server
// died, or that died itself before they were read.
func (a *actor) takeOver(steps run.Steps) {
	if steps.Session != a.session.key {
		return // of another session or another server, which has them
	}
	for _, e := range steps.Steps {
		if last := a.state.LastStep; last == nil || isLater(steps.Attempt, e.Step, last.Attempt, last.Step) {
			a.report(StepEvent{Attempt: steps.Attempt, Step: e.Step, Epoch: e.Epoch, Loss: e.Loss, LR: e.LR, GradNorm: e.GradNorm, Seconds: e.Seconds,
				MicroBatch: e.MicroBatch, Recovered: true})
		}
		if e.Evaluation == nil {
			continue
		}
		if last := a.state.LastEvaluation; last == nil || isLater(steps.Attempt, e.Step, last.Attempt, last.Step) {
			a.evaluation(EvaluationEvent{Attempt: steps.Attempt, Recovered: true}, *e.Evaluation)
		}
	}
}

// isLater tells whether a step of an attempt comes after another one.
func isLater(attempt int, step int64, otherAttempt int, otherStep int64) bool {
	return attempt > otherAttempt || attempt == otherAttempt && step > otherStep
}

func (a *actor) report(e StepEvent) {
	a.state.LastStep = &e
	a.emit(KindStep, e)
}

func (a *actor) epochOf(step int64) int64 {
	if a.ready == nil {
		return 0
	}
	return a.ready.EpochOf(step)
}

func (a *actor) checkpoint(id int64, info *checkpoint.Info) {
	c := describeCheckpoint(info)
	a.fruitless = 0
	a.state.LastCheckpoint = &c
	a.recordCheckpoint(c)
	a.emit(KindCheckpoint, c)
	a.afterCommit(func(err error) {
		if a.worker == nil {
			return
		}
		answer := worker.Message{Type: worker.TypeAcknowledged, ID: id}
		if err != nil {
			answer.Error = &worker.Failure{Code: engine.IO, Message: err.Error()}
		}
		_ = a.worker.Send(answer)
	})
}

// describeCheckpoint is what the API tells about a checkpoint folder.
func describeCheckpoint(info *checkpoint.Info) Checkpoint {
	m := info.Manifest
	c := Checkpoint{Step: m.Step, Epoch: m.Epoch, Reason: m.Reason, Path: info.Path, Weights: info.Weights, Bytes: m.Bytes()}
	if m.Reason == "final" && len(m.Published) > 0 {
		c.Final = filepath.Join(filepath.Dir(info.Path), filepath.FromSlash(m.Published[len(m.Published)-1]))
	}
	return c
}

func (a *actor) removed(step int64, path, reason string) {
	if step >= 0 {
		a.change.update.Removed = append(a.change.update.Removed, step)
	}
	a.emit(KindCheckpointRemoved, CheckpointRemovedEvent{Step: step, Path: path, Reason: reason})
}

func (a *actor) sample(s run.Sample) {
	a.emit(KindSample, SampleEvent{Step: s.Step, Index: s.Index, Path: s.Path, Prompt: s.Prompt.Text, Name: s.Prompt.Name, Width: s.Prompt.Width,
		Height: s.Prompt.Height, Seed: s.Prompt.Seed})
}

func (a *actor) preview(p run.Preview) {
	a.emit(KindPreview, PreviewEvent{Step: p.Step, Index: p.Index, SamplingStep: p.SamplingStep, SamplingSteps: p.SamplingSteps,
		Timestep: p.Timestep, Path: p.Path, Prompt: p.Prompt.Text, Name: p.Prompt.Name, Width: p.Prompt.Width, Height: p.Prompt.Height})
}

func (a *actor) evaluation(event EvaluationEvent, e run.Evaluation) {
	event.Step, event.Losses, event.Pooled, event.Seconds = e.Step, e.Losses, e.Pooled, e.Seconds
	a.state.LastEvaluation = &event
	a.emit(KindEvaluation, event)
}

func (a *actor) script(s run.Script) {
	a.emit(KindScript, ScriptEvent{Script: s.Name, Step: s.Step, Argv: s.Argv, ExitCode: s.ExitCode, Seconds: s.Seconds, Problem: s.Problem,
		Output: s.Output})
}

// paused comes after the checkpoint of the step is recorded. A grant may have overtaken it.
func (a *actor) paused(step int64) {
	consumed := a.pendingSteps(step)
	a.settleGrants(step, store.Consumed)
	if consumed > 0 {
		a.session.log.add(fmt.Sprintf("[session %s] consumed %d steps (total %d) at epoch %d", a.session.id, consumed, step, a.state.Epoch))
	}
	if step >= a.state.Allowed && (a.state.State == Initializing || a.state.State == Running) {
		a.setState(Paused, "budget used up")
	}
}

func (a *actor) pendingSteps(step int64) int64 {
	var steps int64
	for _, g := range a.grants {
		if g.Outcome == store.Pending && g.Target <= step {
			steps += g.Steps
		}
	}
	return steps
}

// workFinished is the last word of a worker that ended in order.
func (a *actor) workFinished(m worker.Message) {
	a.outcome = m.Outcome
	switch {
	case m.Error != nil && m.Outcome == run.Stopped:
		a.setback = m.Error.Message
	case m.Error != nil && a.state.State != Aborting && !a.state.State.Terminal() && !a.stopping:
		a.fail(codeName(m.Error.Code), m.Error.Message)
	case m.Error != nil:
		a.warn("while stopping: " + m.Error.Message)
	case m.Outcome == run.Completed && a.state.State != Aborting:
		a.settleGrants(1<<62, store.Consumed)
		a.setState(Completed, "last step")
	}
}

// workerEnded gives everything back and says what became of the session.
func (a *actor) workerEnded() {
	exit := a.worker.Exit()
	if a.endWork != nil {
		a.endWork()
	}
	if a.release != nil {
		a.release()
	}
	a.deadline.Stop()
	outcome, setback := a.outcome, a.setback
	a.worker, a.ready, a.endWork, a.release, a.killing, a.outcome, a.setback = nil, nil, nil, nil, false, "", ""
	a.state.PID = 0
	a.fruitless++
	a.change.dirty = true
	if exit.Problem != "" {
		a.session.log.add(exit.Problem)
	}
	switch {
	case exit.Problem != "":
		a.withoutWorker(exit.Problem)
	case a.stopping:
		a.withoutWorker("the server was stopped")
	case setback != "":
		a.withoutWorker(setback)
	default:
		a.withoutWorker(fmt.Sprintf("the worker was stopped (%s)", outcome))
	}
}

// withoutWorker puts a session in the state that fits having no worker.
func (a *actor) withoutWorker(reason string) {
	switch {
	case a.state.State == Aborting:
		a.setAborted()
	case a.state.State.Terminal():
		a.session.log.end()
	case a.goesOn() && !a.stopping && !a.deleting:
		a.goOn(reason)
	case a.state.State != Interrupted:
		a.interrupt(reason)
	}
}

// codeName is the wire name of an engine's code.
func codeName(code engine.Code) string {
	names := map[engine.Code]string{engine.Invalid: "invalid", engine.NotFound: "not_found", engine.Unsupported: "unsupported",
		engine.OutOfMemory: "out_of_memory", engine.DeviceOOM: "device_oom", engine.DeviceLost: "device_lost", engine.IO: "io",
		engine.Cancelled: "cancelled", engine.State: "state", engine.Numeric: "numeric", engine.Internal: "internal"}
	if name, ok := names[code]; ok {
		return name
	}
	return "run"
}
