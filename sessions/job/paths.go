package job

import "fmt"

// CheckPaths asks about every file and folder that the job names, and returns nil or an *Invalid that lists those that are
// not allowed.
func (j *Job) CheckPaths(allowed func(path string) error) error {
	var problems []Problem
	check := func(field, path string) {
		if path == "" {
			return
		}
		if err := allowed(path); err != nil {
			problems = append(problems, Problem{Field: field, Message: err.Error()})
		}
	}
	datasets := func(field string, list []Dataset) {
		for i, d := range list {
			at := fmt.Sprintf("%s[%d].", field, i)
			check(at+"folder", d.Folder)
			if d.Table != nil {
				check(at+"table.path", d.Table.Path)
			}
		}
	}
	check("output", j.RunDir())
	check("engine.model", j.Engine.Model)
	if j.Engine.Adapter != nil {
		check("engine.adapter.init", j.Engine.Adapter.Init)
	}
	datasets("datasets", j.Datasets)
	if j.Evaluation != nil {
		datasets("evaluation.datasets", j.Evaluation.Datasets)
	}
	if len(problems) > 0 {
		return &Invalid{Problems: problems}
	}
	return nil
}
