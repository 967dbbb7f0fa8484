package sessions

import (
	"fmt"

	"github.com/stepd/stepd/sessions/job"
)

// permitted is the job without the scripts that the operator does not allow now: a session may have been created when
// they were.
func (a *actor) permitted() *job.Job {
	allow := a.session.manager.options.Scripts
	configured := a.session.job.Scripts
	if allow == nil || configured == nil {
		return a.session.job
	}
	scripts := *configured
	for name, script := range map[string]**job.Script{"validation": &scripts.Validation, "checkpoint": &scripts.Checkpoint, "upload": &scripts.Upload} {
		if *script != nil && !allow.Permits((*script).Command) {
			a.warn(fmt.Sprintf("the %s script %q is not started: this server does not allow it any more; start it with --allow-script", name, (*script).Command))
			*script = nil
		}
	}
	restricted := *a.session.job
	restricted.Scripts = &scripts
	return &restricted
}
