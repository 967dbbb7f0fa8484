package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
)

// DoctorOptions say what to examine.
type DoctorOptions struct {
	DataDir string
	// Outputs are folders that hold run folders. Run folders that the index does not know are added to it by Repair.
	Outputs []string
	Repair  bool
}

// Doctor checks the index and every run folder, with hashes, and repairs what it finds when asked to. No server may be
// running on the data folder.
func Doctor(ctx context.Context, options DoctorOptions) ([]checkpoint.Finding, error) {
	if err := prepareDataDir(options.DataDir); err != nil {
		return nil, err
	}
	unlock, err := lockDataDir(ctx, options.DataDir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d := &doctor{options: options, examined: map[string][]*checkpoint.Info{}}
	if err := d.openStore(ctx); err != nil {
		return d.findings, err
	}
	if d.store == nil {
		return d.findings, nil
	}
	err = d.examine(ctx)
	return d.findings, errors.Join(err, d.store.Close())
}

type doctor struct {
	options  DoctorOptions
	store    *store.Store
	examined map[string][]*checkpoint.Info // good checkpoints by run folder
	findings []checkpoint.Finding
}

func (d *doctor) found(path, problem, repair string) {
	d.findings = append(d.findings, checkpoint.Finding{Path: path, Problem: problem, Repair: repair})
}

// openStore puts a database that cannot be used aside; a new one is filled from the run folders.
func (d *doctor) openStore(ctx context.Context) error {
	path := filepath.Join(d.options.DataDir, store.FileName)
	opened, err := store.Open(ctx, d.options.DataDir)
	if err == nil {
		if err = opened.Check(ctx); err == nil {
			d.store = opened
			return nil
		}
		err = errors.Join(err, opened.Close())
	}
	if errors.Is(err, store.ErrNewer) {
		return err
	}
	d.found(path, err.Error(), "put aside; a new index is made from the run folders")
	if !d.options.Repair {
		return nil
	}
	aside := fmt.Sprintf("%s.broken-%d", path, time.Now().Unix())
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	d.store, err = store.Open(ctx, d.options.DataDir)
	return err
}

func (d *doctor) examine(ctx context.Context) error {
	rows, err := d.store.Sessions(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	ids := map[string]bool{} // and keys
	for _, row := range rows {
		known[row.RunDir] = true
		ids[row.ID] = ids[row.ID] || !row.Deleted
		ids[row.Key] = true
		if row.Deleted {
			continue
		}
		if err := d.session(ctx, row); err != nil {
			return fmt.Errorf("session %q: %w", row.ID, err)
		}
	}
	return d.adoptAll(ctx, known, ids)
}

// adoptAll looks for run folders that no session knows.
func (d *doctor) adoptAll(ctx context.Context, known, ids map[string]bool) error {
	for _, output := range d.options.Outputs {
		output, err := filepath.Abs(output)
		if err != nil {
			return err
		}
		dirs, err := d.runFolders(output)
		if err != nil {
			return fmt.Errorf("look for run folders: %w", err)
		}
		for _, dir := range dirs {
			if known[dir] {
				continue
			}
			known[dir] = true
			good, err := d.fsck(ctx, dir)
			if err == nil && len(good) > 0 {
				from := d.origin(dir)
				if ids[from.ID] || ids[from.Key] { // the folder is a copy
					from.ID, from.Key = newKey(), newKey()
				}
				ids[from.ID], ids[from.Key] = true, true
				d.found(dir, "the run is not in the index", "added as session "+from.ID)
				err = d.adopt(ctx, from, dir, good)
			}
			if err != nil {
				return fmt.Errorf("run folder %s: %w", dir, err)
			}
		}
	}
	return nil
}

// runFolders are a folder and those below it, at any depth, that hold checkpoints. Links are followed in the folder itself.
func (d *doctor) runFolders(output string) (dirs []string, err error) {
	var visit func(dir string) error
	visit = func(dir string) error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			_, err := os.Stat(filepath.Join(dir, entry.Name(), checkpoint.ManifestName))
			if err == nil && strings.HasPrefix(entry.Name(), "checkpoint-") {
				dirs = append(dirs, dir)
				return nil
			}
		}
		for _, entry := range entries {
			path := filepath.Join(dir, entry.Name())
			info, err := os.Stat(path)
			if err != nil || !info.IsDir() || !entry.IsDir() && dir != output {
				continue
			}
			if err := visit(path); err != nil {
				d.found(path, err.Error(), "left alone")
			}
		}
		return nil
	}
	return dirs, visit(output)
}

// fsck examines a run folder that nobody works in, once.
func (d *doctor) fsck(ctx context.Context, dir string) ([]*checkpoint.Info, error) {
	if good, done := d.examined[dir]; done {
		return good, nil
	}
	unlock, err := checkpoint.Lock(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	defer unlock()
	good, findings, err := checkpoint.Fsck(dir, d.options.Repair)
	d.findings = append(d.findings, findings...)
	d.examined[dir] = good
	return good, err
}

// session compares the index with the run folder. Checkpoints that the index does not have yet are adopted by the next
// worker; those that it has and the folder has not are taken out.
func (d *doctor) session(ctx context.Context, row store.Session) error {
	var good []*checkpoint.Info
	if _, err := os.Stat(row.RunDir); err == nil {
		if good, err = d.fsck(ctx, row.RunDir); err != nil {
			return err
		}
	}
	if _, _, err := readRow(row); err != nil {
		return d.restore(ctx, row, good, err)
	}
	present := map[int64]bool{}
	for _, info := range good {
		present[info.Manifest.Step] = true
	}
	recorded, err := d.store.Checkpoints(ctx, row.Key)
	if err != nil {
		return err
	}
	update := store.Update{Session: row.Key}
	for _, c := range recorded {
		if !present[c.Step] {
			d.found(row.RunDir, fmt.Sprintf("the index has a checkpoint of step %d that is not there", c.Step), "taken out of the index")
			update.Removed = append(update.Removed, c.Step)
		}
	}
	if !d.options.Repair || len(update.Removed) == 0 {
		return nil
	}
	_, err = d.store.Apply(ctx, update)
	return err
}

// restore replaces a session that cannot be read by one that is made of its run folder.
func (d *doctor) restore(ctx context.Context, row store.Session, good []*checkpoint.Info, problem error) error {
	repair := "made again from its run folder"
	if len(good) == 0 {
		repair = "taken out of the index; it has no checkpoint"
	}
	d.found(filepath.Join(d.options.DataDir, store.FileName), fmt.Sprintf("session %q: %v", row.ID, problem), repair)
	if !d.options.Repair {
		return nil
	}
	if err := errors.Join(d.store.MarkDeleted(ctx, row.Key), d.store.Purge(ctx, row.Key)); err != nil || len(good) == 0 {
		return err
	}
	from := d.origin(row.RunDir)
	if from.Key != row.Key { // the folder is another session's now
		from = origin{Key: row.Key, ID: row.ID}
	}
	return d.adopt(ctx, from, row.RunDir, good)
}

// origin is what the run folder tells about its session, or a new session with the folder's name.
func (d *doctor) origin(dir string) origin {
	kept, err := readOrigin(dir)
	if err == nil {
		return *kept
	}
	if !errors.Is(err, fs.ErrNotExist) {
		d.found(dir, err.Error(), "added under the name of the folder, without labels and queue")
	}
	return origin{Key: newKey(), ID: filepath.Base(dir)}
}

// adopt makes a session of the checkpoints of a run folder: one that has not ended is Interrupted.
func (d *doctor) adopt(ctx context.Context, from origin, dir string, good []*checkpoint.Info) error {
	newest := good[0]
	for _, info := range good {
		if info.Manifest.Step > newest.Manifest.Step {
			newest = info
		}
	}
	text, err := newest.Job()
	if err != nil {
		return err
	}
	j, err := job.Parse(text)
	if err != nil {
		return err
	}
	j.Output, j.Name = filepath.Dir(dir), filepath.Base(dir)
	if !d.options.Repair {
		return nil
	}
	return d.insert(ctx, from, j, good, newest)
}

// restored is the reason of the state in which an adopted session begins.
const restored = "restored from the run folder"

// adopted is the snapshot of a session whose newest checkpoint is known.
func adopted(from origin, j *job.Job, newest *checkpoint.Info, now time.Time) Snapshot {
	last := describeCheckpoint(newest)
	s := Snapshot{ID: from.ID, Name: j.Name, State: Interrupted, Completed: last.Step, Allowed: last.Step, MaxSteps: j.MaxSteps, Steps: j.Steps,
		End: j.End(), Epoch: last.Epoch, LastCheckpoint: &last, Cancelled: from.Cancelled, RunDir: j.RunDir(), Attempt: max(from.Attempt, 1),
		Created: from.Created, Updated: now}
	if s.Created.IsZero() {
		s.Created = newest.Manifest.Created
	}
	if from.Queue != "" { // it goes on by itself with what it was granted
		s.Allowed = max(last.Step, newest.Manifest.Budget)
	}
	switch {
	case s.Completed >= s.End || from.End == Completed:
		s.State = Completed
	case from.End == Failed:
		s.State, s.Error, s.ErrorCode = Failed, from.Error, from.ErrorCode
	case from.End != "":
		s.State = Aborted
	default:
		s.Interruption = restored
	}
	return s
}

func (d *doctor) insert(ctx context.Context, from origin, j *job.Job, good []*checkpoint.Info, newest *checkpoint.Info) error {
	now := time.Now().UTC()
	snapshot := adopted(from, j, newest, now)
	created, err := json.Marshal(CreatedEvent{Name: j.Name, RunDir: j.RunDir(), Steps: j.Steps, MaxSteps: j.MaxSteps})
	if err != nil {
		return err
	}
	state, err := json.Marshal(StateEvent{To: snapshot.State, Reason: restored, Completed: snapshot.Completed, Allowed: snapshot.Allowed})
	if err != nil {
		return err
	}
	snapshot.LastEvent = 2
	record, err := json.Marshal(snapshot)
	if err != nil {
		return err
	}
	fixed, err := json.Marshal(static{Job: j, Labels: from.Labels, Queue: from.Queue})
	if err != nil {
		return err
	}
	update := store.Update{Session: from.Key, Events: []store.Event{
		{Index: 1, Time: now, Kind: string(KindCreated), Data: created}, {Index: 2, Time: now, Kind: string(KindState), Data: state}}}
	for _, info := range good {
		data, err := json.Marshal(describeCheckpoint(info))
		if err != nil {
			return err
		}
		update.Checkpoints = append(update.Checkpoints, store.Checkpoint{Step: info.Manifest.Step, Data: data})
	}
	_, err = d.store.Create(ctx, store.Session{Key: from.Key, ID: from.ID, Created: snapshot.Created, RunDir: snapshot.RunDir, Static: fixed,
		Record: record}, update)
	return err
}
