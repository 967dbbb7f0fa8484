package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/run"
	"github.com/stepd/stepd/sessions/store"
)

// Open reads the data folder, brings sessions that were alive when the last server ended back as Interrupted, and
// returns. Sessions whose old worker is still finishing its step appear as Initializing until it is done. Sessions of a
// queue wait or go on as before.
func Open(ctx context.Context, options Options) (*Manager, error) {
	if options.Launcher == nil {
		return nil, errors.New("open sessions: no launcher of workers")
	}
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.AbortGrace == 0 {
		options.AbortGrace = 2 * time.Minute
	}
	if options.KillGrace == 0 {
		options.KillGrace = 10 * time.Second
	}
	if options.retry == 0 {
		options.retry = time.Second
	}
	if err := prepareDataDir(options.DataDir); err != nil {
		return nil, err
	}
	unlock, err := lockDataDir(ctx, options.DataDir)
	if err != nil {
		return nil, err
	}
	m := &Manager{options: options, memory: memoryPool{limit: options.Memory}, unlock: unlock, reserved: map[string]claim{},
		unreadable: map[string]bool{}, leaving: map[*Session]bool{}, changed: make(chan struct{})}
	if m.store, err = store.Open(ctx, options.DataDir); err != nil {
		unlock()
		return nil, fmt.Errorf("%w; stepd doctor checks the index and, with --repair, makes a broken one again", err)
	}
	m.store.Fault = options.fault
	if err := m.load(ctx); err != nil {
		unlock()
		return nil, errors.Join(fmt.Errorf("load sessions: %w", err), m.store.Close())
	}
	return m, nil
}

// lockWait is how long a server that is ending may keep the data folder.
const lockWait = 10 * time.Second

func lockDataDir(ctx context.Context, dir string) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, err := checkpoint.Lock(ctx, dir, nil)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("data folder %s is in use by another server; end that one, or choose another data folder", dir)
	}
	return unlock, err
}

func (m *Manager) load(ctx context.Context) error {
	rows, err := m.store.Sessions(ctx)
	if err != nil {
		return err
	}
	if m.lastSeq, err = m.store.LastSeq(ctx); err != nil {
		return err
	}
	var restored []*Session
	for _, row := range rows {
		if row.Deleted {
			forgetOrigin(row.RunDir, row.Key)
			if err := m.store.Purge(ctx, row.Key); err != nil {
				m.options.Logger.Warn("a deleted session is still in the index", zap.String("session", row.ID), zap.Error(err))
			}
			continue
		}
		s, err := m.restore(ctx, row)
		if err != nil {
			// The others must not wait for somebody to mend this one.
			m.unreadable[row.ID] = true
			m.options.Logger.Error("session cannot be loaded and is left out; end the server and run: stepd doctor --repair --data "+
				m.options.DataDir, zap.String("session", row.ID), zap.Error(err))
			continue
		}
		restored = append(restored, s)
	}
	m.queues.restore(restored)
	for _, s := range restored {
		s.actor.recoverState()
		m.add(s)
	}
	return nil
}

// readRow reads what create and the actor wrote.
func readRow(row store.Session) (fixed static, snapshot Snapshot, err error) {
	err = errors.Join(json.Unmarshal(row.Static, &fixed), json.Unmarshal(row.Record, &snapshot))
	if err == nil && (fixed.Job == nil || transitions[snapshot.State] == nil) {
		err = fmt.Errorf("its job is missing, or its state %q is unknown", snapshot.State)
	}
	if err != nil {
		err = fmt.Errorf("read stored session: %w", err)
	}
	return fixed, snapshot, err
}

// restore makes a session from its rows.
func (m *Manager) restore(ctx context.Context, row store.Session) (*Session, error) {
	fixed, snapshot, err := readRow(row)
	if err != nil {
		return nil, err
	}
	grants, err := m.store.Grants(ctx, row.Key)
	if err != nil {
		return nil, err
	}
	return newSession(m, row.Key, fixed, snapshot, grants), nil
}

// recoverState deals with a session whose server is gone. It runs before the actor's goroutine.
func (a *actor) recoverState() {
	switch {
	case a.state.State.Terminal(), a.state.State == Interrupted && !a.goesOn():
		return
	case a.waiting():
		a.moveUp()
		return
	}
	a.fallBack()
	a.state.PID, a.state.Interruption = 0, ""
	switch a.state.State {
	case Paused, Running, Interrupted:
		a.setState(Initializing, "the server restarted")
	}
	if position := a.session.manager.queues.position(a.session); position > 0 {
		a.wait(position)
		return
	}
	a.setStage(StageEvent{Stage: "recovering"})
	a.starting = true // what follows ends like the start of a worker
	a.afterCommit(func(err error) {
		if err != nil {
			a.starting = false
			return
		}
		ctx, recorded := a.workContext(), a.state.LastCheckpoint
		go func() {
			found, steps, err := newestCheckpoint(ctx, a.session.job.RunDir(), recorded)
			a.post(func() { a.recovered(found, steps, err) })
		}()
	})
}

// newestCheckpoint waits until the old worker has let go of the run folder. A checkpoint that is recorded is not read
// again; a newer one counts when it verifies, and so do the steps that led to it.
func newestCheckpoint(ctx context.Context, dir string, recorded *Checkpoint) (newest *checkpoint.Info, steps run.Steps, err error) {
	folder, err := checkpoint.Open(dir, checkpoint.OS{})
	if err != nil {
		return nil, steps, err
	}
	unlock, err := checkpoint.Lock(ctx, dir, nil)
	if err != nil {
		return nil, steps, err
	}
	defer unlock()
	infos, err := folder.List()
	if err != nil || len(infos) == 0 {
		return nil, steps, err
	}
	newest = infos[len(infos)-1]
	if recorded != nil && newest.Manifest.Step <= recorded.Step {
		return nil, steps, nil
	}
	if _, err := checkpoint.Verify(newest.Path); err != nil {
		return nil, steps, err
	}
	steps, err = run.ReadSteps(newest.Path)
	return newest, steps, err
}

// recovered ends the recovery. A grant that came meanwhile continues the session at once.
func (a *actor) recovered(found *checkpoint.Info, steps run.Steps, err error) {
	a.starting, a.endWork = false, nil
	if err != nil && !errors.Is(err, context.Canceled) {
		a.warn("look for checkpoints after the restart: " + err.Error())
	}
	if found != nil {
		a.takeOver(steps)
		c := describeCheckpoint(found)
		a.state.LastCheckpoint = &c
		a.rebase(c.Step)
		a.recordCheckpoint(c)
		a.emit(KindCheckpoint, c)
	}
	switch {
	case a.state.State == Aborting:
		a.setAborted()
	case (a.state.Allowed > a.state.Completed || a.goesOn()) && !a.stopping:
		a.startWorker()
	default:
		a.interrupt("the server ended while the session was alive")
	}
}
