package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/checkpoint"
)

// ledger is what the server has acknowledged about one run: whatever a client has seen must stay true.
type ledger struct{ events []sessions.Event }

// add takes the events that follow those already seen.
func (l *ledger) add(events []sessions.Event) error {
	for _, e := range events {
		if want := int64(len(l.events) + 1); e.Index != want {
			return fmt.Errorf("event %d comes where %d is due", e.Index, want)
		}
		l.events = append(l.events, e)
	}
	return nil
}

// compare checks that all events seen before are served again, unchanged, and takes what is new.
func (l *ledger) compare(all []sessions.Event) error {
	if len(all) < len(l.events) {
		return fmt.Errorf("%d events were seen, but only %d are left", len(l.events), len(all))
	}
	for i, seen := range l.events {
		if before, now := text(seen), text(all[i]); before != now {
			return fmt.Errorf("event %d was %s and is now %s", seen.Index, before, now)
		}
	}
	return l.add(all[len(l.events):])
}

func text(e sessions.Event) string {
	data, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// check walks through the history: no step above the budget of its moment, and steps in order within an attempt.
func (l *ledger) check() error {
	var allowed, most, attempt, step int64
	for _, e := range l.events {
		var data struct {
			Allowed *int64 `json:"allowed"`
			Attempt int64  `json:"attempt"`
			Step    int64  `json:"step"`
			// Recovered steps were trained on a budget that has been taken back since.
			Recovered bool `json:"recovered"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return fmt.Errorf("event %d: %w", e.Index, err)
		}
		if data.Allowed != nil {
			allowed = *data.Allowed
			most = max(most, allowed)
		}
		if e.Kind != sessions.KindStep {
			continue
		}
		switch {
		case data.Step > allowed && !(data.Recovered && data.Step <= most):
			return fmt.Errorf("event %d: step %d was trained with a budget of %d", e.Index, data.Step, allowed)
		case data.Attempt < attempt, data.Attempt == attempt && data.Step != step+1, data.Attempt > attempt && data.Step > step+1:
			return fmt.Errorf("event %d: step %d of attempt %d follows step %d of attempt %d", e.Index, data.Step, data.Attempt, step, attempt)
		}
		attempt, step = data.Attempt, data.Step
	}
	return nil
}

// checkpoints are those acknowledged and not removed since, oldest first.
func (l *ledger) checkpoints() ([]sessions.Checkpoint, error) {
	kept := map[string]sessions.Checkpoint{}
	for _, e := range l.events {
		switch e.Kind {
		case sessions.KindCheckpoint:
			var c sessions.Checkpoint
			if err := json.Unmarshal(e.Data, &c); err != nil {
				return nil, err
			}
			kept[c.Path] = c
		case sessions.KindCheckpointRemoved:
			var removed sessions.CheckpointRemovedEvent
			if err := json.Unmarshal(e.Data, &removed); err != nil {
				return nil, err
			}
			delete(kept, removed.Path)
		}
	}
	var list []sessions.Checkpoint
	for _, c := range kept {
		list = append(list, c)
	}
	sort.Slice(list, func(i, k int) bool { return list[i].Step < list[k].Step })
	return list, nil
}

// verify reads every acknowledged checkpoint. One may be missing when there are as many newer ones as are kept: the kill
// came between its removal and the event of that, or before the event was seen.
func (l *ledger) verify(keep int) (verified int, newest int64, err error) {
	list, err := l.checkpoints()
	if err != nil {
		return 0, 0, err
	}
	for _, c := range list {
		if _, err := os.Stat(c.Path); os.IsNotExist(err) {
			newer, err := newerThan(c)
			if err != nil {
				return verified, newest, err
			}
			if newer >= keep {
				continue
			}
		}
		if _, err := checkpoint.Verify(c.Path); err != nil {
			return verified, newest, fmt.Errorf("the acknowledged checkpoint of step %d: %w", c.Step, err)
		}
		verified, newest = verified+1, c.Step
	}
	return verified, newest, nil
}

// newerThan counts the checkpoints in the same run folder that are newer and verify.
func newerThan(c sessions.Checkpoint) (count int, err error) {
	infos, err := checkpoint.At(filepath.Dir(c.Path)).List()
	for _, info := range infos {
		if info.Manifest.Step > c.Step {
			if _, err := checkpoint.Verify(info.Path); err == nil {
				count++
			}
		}
	}
	return count, err
}

// position is the step at which the run is: a worker that was killed takes it back to the last checkpoint, and one whose
// server was killed may have trained and saved a step that nobody heard of.
func (l *ledger) position() (step int64, err error) {
	for _, e := range l.events {
		var data struct {
			Step      int64 `json:"step"`
			Completed int64 `json:"completed"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return 0, fmt.Errorf("event %d: %w", e.Index, err)
		}
		switch e.Kind {
		case sessions.KindState:
			step = data.Completed
		case sessions.KindStep, sessions.KindResumed, sessions.KindCheckpoint:
			step = data.Step
		}
	}
	return step, nil
}

// redone counts the steps that were trained again after a kill.
func (l *ledger) redone() (count int) {
	var last int64
	for _, e := range l.events {
		var data sessions.StepEvent
		if e.Kind == sessions.KindStep && json.Unmarshal(e.Data, &data) == nil {
			if data.Step <= last {
				count++
			}
			last = max(last, data.Step)
		}
	}
	return count
}

// checkStop looks at what a polite stop of the server has left behind the events seen before it: an end of the run, or the
// interruption of one whose newest checkpoint is of its last step. It tells whether there was a step to be saved: there is
// none in a run whose worker was killed before, and which nobody has granted steps since.
func (l *ledger) checkStop(seen int) (checked bool, err error) {
	down := false // when the stop came
	for i, e := range l.events {
		var change sessions.StateEvent
		if e.Kind != sessions.KindState || json.Unmarshal(e.Data, &change) != nil {
			continue
		}
		if change.To.Terminal() {
			return false, nil // before the stop reached it
		}
		killed := change.To == sessions.Interrupted && strings.HasPrefix(change.Reason, "worker was killed")
		if killed || i < seen {
			down = change.To == sessions.Interrupted
			continue
		}
		if change.To != sessions.Interrupted {
			continue // after the restart
		}
		before := ledger{events: l.events[:i]}
		last, err := before.position()
		if err != nil || last == 0 {
			return false, err
		}
		list, err := before.checkpoints()
		if err == nil && (len(list) == 0 || list[len(list)-1].Step != last) {
			err = fmt.Errorf("the server was stopped after step %d, but the newest checkpoint is not of that step", last)
		}
		return true, err
	}
	if down {
		return false, nil
	}
	return false, errors.New("the server was stopped, but no event tells what became of the run")
}
