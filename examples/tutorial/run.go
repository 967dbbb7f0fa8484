package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

// runner runs the blocks in order.
type runner struct {
	workspace *workspace
	server    *trial.Server
	receiver  *receiver

	complete  string // the first command that starts a training, with all its fields
	job       string // id of the newest job
	jobs      []string
	blocks    int
	endpoints int
}

const (
	fastPath = "Fast path: run without environments"
	pixart   = "Example: PixArt Sigma 900M full fine-tune"
)

func (r *runner) run(d document) error {
	for _, section := range []string{"Discover the API", fastPath, pixart} {
		found := false
		for _, b := range d.blocks {
			if b.section != section {
				continue
			}
			found = true
			if err := r.block(b); err != nil {
				return fmt.Errorf("line %d, %s: %w", b.line, b.heading, err)
			}
		}
		if !found {
			return fmt.Errorf("the document has no commands under %q; is it the API tutorial?", section)
		}
		if err := r.endSection(section); err != nil {
			return fmt.Errorf("%s: %w", section, err)
		}
	}
	return r.callEndpoints(d.endpoints)
}

// block runs one block and checks what it printed.
func (r *runner) block(b block) error {
	fmt.Printf("line %d: %s\n", b.line, b.heading)
	if strings.HasPrefix(b.heading, "7.") {
		return r.stopAndResume(b)
	}
	_, err := r.execute(b.script)
	return err
}

// execute runs a script in bash and checks its output by the commands in it.
func (r *runner) execute(script string) (string, error) {
	if strings.Contains(script, "/api/training/start") && r.complete == "" {
		r.complete = script
	}
	script = r.replace(fill(script, r.complete))
	command := exec.Command("bash", "-euo", "pipefail", "-c", script)
	command.Dir = r.workspace.dir
	var failure bytes.Buffer
	command.Stderr = &failure
	out, err := command.Output()
	output := string(out)
	if err != nil {
		return output, fmt.Errorf("%w\n%s\n%s%s", err, script, output, failure.String())
	}
	r.blocks++
	for _, e := range expectations {
		if !strings.Contains(script, e.command) {
			continue
		}
		if !e.reply.MatchString(output) {
			return output, fmt.Errorf("%s answered\n%s\nwhich is not %s", e.command, output, e.reply)
		}
		if e.jobID {
			r.job = e.reply.FindStringSubmatch(output)[1]
			r.jobs = append(r.jobs, r.job)
			fmt.Println("  job", r.job)
		}
	}
	return output, nil
}

// replace puts this machine's hosts and paths into a script. A page is fetched where the text opens a browser.
func (r *runner) replace(script string) string {
	script = strings.ReplaceAll(script, "python -m webbrowser ", "curl -sf -o /dev/null ")
	script = strings.ReplaceAll(script, "http://localhost:8001", r.server.URL())
	script = strings.ReplaceAll(script, "https://example.com", "http://"+r.receiver.address)
	script = strings.ReplaceAll(script, "<JOB_ID>", r.job)
	if strings.Contains(script, "--validation_preview=") || strings.Contains(script, "--webhook_config=") {
		script = strings.ReplaceAll(script, "/inline-demo", fmt.Sprintf("/inline-demo-%d", len(r.jobs)+1)) // a run of its own
	}
	return r.workspace.paths.Replace(script)
}

// expectations are what the text says about the replies, by the command.
var expectations = []struct {
	command string
	reply   *regexp.Regexp
	jobID   bool // its first group is the id of a job
}{
	{command: "jq '.info'", reply: regexp.MustCompile(`"title": "\w+`)},
	{command: "/api/training/validate", reply: regexp.MustCompile(`alert-success.*Configuration Valid`)},
	{command: "/api/training/start", reply: regexp.MustCompile(`(?s)Training (?:Starting|Queued).*Job ID: ([0-9a-f]{8})`), jobID: true},
	{command: "/api/training/validation/run", reply: regexp.MustCompile(`"job_id":"[0-9a-f]{8}"`)},
	{command: "/api/training/checkpoint/run", reply: regexp.MustCompile(`"job_id":"[0-9a-f]{8}"`)},
	{command: "/api/configs/environments", reply: regexp.MustCompile(`Environment 'pixart-api-demo' created`)},
	{command: "-X PUT", reply: regexp.MustCompile(`Configuration 'pixart-api-demo' updated successfully`)},
	{command: "/activate", reply: regexp.MustCompile(`Configuration 'pixart-api-demo' is now active`)},
	{command: "/api/training/stop", reply: regexp.MustCompile(
		`(?s)"status": "running".*"events": \[.*Training job [0-9a-f]{8} stop requested.*Training Cancelled|` +
			`(?s)"status": "running".*stop requested.*No Active Training`)},
}

// session is what is asked about a job besides the tutorial's own commands.
type session struct {
	Status string  `json:"status"`
	Step   int64   `json:"current_step"`
	Error  *string `json:"error"`
}

// wait asks for a job's state until it is as wanted.
func (r *runner) wait(job, what string, wanted func(session) bool) error {
	var now session
	for {
		if err := r.server.Call("GET", "/sessions/"+job, nil, &now); err != nil {
			return err
		}
		switch {
		case wanted(now):
			return nil
		case slices.Contains([]string{"error", "aborted", "completed", "interrupted"}, now.Status):
			problem := ""
			if now.Error != nil {
				problem = *now.Error
			}
			return fmt.Errorf("job %s is %s at step %d instead of %s: %s", job, now.Status, now.Step, what, problem)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func completed(s session) bool { return s.Status == "completed" }

// stopAndResume runs the commands that stop a job in its middle, and then starts it again, as `resume_from_checkpoint:
// latest` of the example promises.
func (r *runner) stopAndResume(b block) error {
	stopped := r.job
	if err := r.wait(stopped, "at step 200", func(s session) bool { return s.Step >= 200 }); err != nil {
		return err
	}
	if _, err := r.execute(b.script); err != nil {
		return err
	}
	if err := r.wait(stopped, "aborted", func(s session) bool { return s.Status == "aborted" }); err != nil {
		return err
	}
	fmt.Println("  stopped; starting it again")
	return nil
}

// event is one event of a job, in the list that the tutorial reads.
type event struct {
	Type   string `json:"type"`
	Images []struct {
		Source string `json:"src"`
	} `json:"images"`
	Data struct {
		Status string `json:"status"`
		Label  string `json:"step_label"`
	} `json:"data"`
	Stage struct {
		Key string `json:"key"`
	} `json:"stage"`
}

func (r *runner) events(job string) ([]event, error) {
	var list struct {
		Events []event `json:"events"`
		JobID  string  `json:"job_id"`
	}
	if err := r.server.Call("GET", "/api/training/events?since_index=0", nil, &list); err != nil {
		return nil, err
	}
	if list.JobID != job {
		return nil, fmt.Errorf("the events are those of job %s instead of %s", list.JobID, job)
	}
	return list.Events, nil
}

// endSection waits for the jobs of a section and checks what the text promises about them.
func (r *runner) endSection(section string) error {
	switch section {
	case fastPath:
		for _, job := range r.jobs {
			if err := r.wait(job, "completed", completed); err != nil {
				return err
			}
			fmt.Println("  job", job, "completed")
		}
		if r.receiver.count.Load() == 0 {
			return errors.New("the webhook got nothing")
		}
		return r.checkPreviews()
	case pixart:
		return r.finish()
	}
	return nil
}

// checkPreviews looks for the steps that the text names: 1, 5, 9, 13, 17 and 20.
func (r *runner) checkPreviews() error {
	events, err := r.events(r.job)
	if err != nil {
		return err
	}
	var labels []string
	for _, e := range events {
		if e.Type == "validation.image" && len(e.Images) == 1 && strings.HasPrefix(e.Images[0].Source, "data:image/png;base64,") {
			labels = append(labels, e.Data.Label)
		}
	}
	wanted := []string{"1/20", "5/20", "9/20", "13/20", "17/20", "20/20"}
	if len(labels) < len(wanted) || !slices.Equal(labels[:len(wanted)], wanted) {
		return fmt.Errorf("previews came at %v, not at %v", labels, wanted)
	}
	return nil
}

// finish starts the stopped example again and follows it to its end.
func (r *runner) finish() error {
	const start = "curl -s -X POST http://localhost:8001/api/training/start -F __active_tab__=model -F --num_train_epochs=0"
	if _, err := r.execute(start); err != nil {
		return err
	}
	if err := r.wait(r.job, "completed", completed); err != nil {
		return err
	}
	events, err := r.events(r.job)
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for _, e := range events {
		seen[e.Type]++
		seen[e.Stage.Key]++
	}
	for _, kind := range []string{"init_resume_checkpoint", "training.status", "training.validation", "training.checkpoint"} {
		if seen[kind] == 0 {
			return fmt.Errorf("job %s has no event %s", r.job, kind)
		}
	}
	if last := events[len(events)-1]; last.Data.Status != "completed" {
		return fmt.Errorf("the last event of job %s is not its completion: %+v", r.job, last)
	}
	fmt.Printf("  job %s resumed and completed, %d events\n", r.job, len(events))
	_, err = os.Stat(filepath.Join(r.workspace.dir, "workspace", "output", "pixart900m"))
	return err
}

// callEndpoints calls every endpoint of the list at the end.
func (r *runner) callEndpoints(endpoints []endpoint) error {
	for _, e := range endpoints {
		path := strings.NewReplacer("{name}", "pixart-api-demo", "=N", "=0").Replace(e.path)
		body := ""
		if strings.HasSuffix(path, "/dataloader") {
			body = ` -H 'Content-Type: application/json' -d '{}'`
		}
		if _, err := r.execute(fmt.Sprintf("curl -sSf -X %s 'http://localhost:8001%s'%s", e.method, path, body)); err != nil {
			return fmt.Errorf("%s %s: %w", e.method, e.path, err)
		}
		r.endpoints++
	}
	return nil
}
