package run

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/sheet"
)

// maxSheetRows bounds a contact sheet; of more steps, evenly spread ones are shown.
const maxSheetRows = 50

// ContactSheet is where a run leaves the contact sheet of its samples.
func ContactSheet(j *job.Job) string { return filepath.Join(sampleDir(j), "contact-sheet.png") }

// sampleDir is where pictures go.
func sampleDir(j *job.Job) string {
	if j.Save.Style == job.StyleSimpleTuner {
		return filepath.Join(j.RunDir(), "validation_images")
	}
	return filepath.Join(j.RunDir(), "samples")
}

// writeSheet draws the samples of this run and of those that it continues: a row a step, a column a picture.
func (r *run) writeSheet() {
	if !r.sampled {
		return
	}
	path := ContactSheet(r.job)
	titles, rows, err := sheetRows(r.job, r.pictureKeys())
	if err == nil {
		err = sheet.Write(path, titles, rows)
	}
	if err != nil {
		r.reporter.Warning("the contact sheet is not written: " + err.Error())
		return
	}
	r.reporter.Log("contact sheet of the samples: " + path)
}

// column is one column of the sheet: the part of its files' names that is the same for every step, and its title.
type column struct{ key, title string }

// sheetRows finds the pictures on disk.
func sheetRows(j *job.Job, columns []column) (titles []string, rows []sheet.Row, err error) {
	positions := map[string]int{}
	for i, c := range columns {
		positions[c.key] = i
		titles = append(titles, c.title)
	}
	pictures := map[int64][]string{}
	err = eachPicture(j, func(step int64, key, path string) {
		position, known := positions[key]
		if !known {
			return // of a prompt that the job does not have any more
		}
		if pictures[step] == nil {
			pictures[step] = make([]string, len(columns))
		}
		pictures[step][position] = path
	})
	if err != nil {
		return nil, nil, err
	}
	for _, step := range spread(pictures) {
		rows = append(rows, sheet.Row{Label: fmt.Sprintf("step %d", step), Pictures: pictures[step]})
	}
	return titles, rows, nil
}

// eachPicture visits the pictures on disk. Of two of one step and key, the newer one comes last.
func eachPicture(j *job.Job, visit func(step int64, key, path string)) error {
	entries, err := os.ReadDir(sampleDir(j)) // sorted, and names that could be the same begin with the time
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if step, key, ok := parseSampleName(j.Save.Style, entry.Name()); ok {
			visit(step, key, filepath.Join(sampleDir(j), entry.Name()))
		}
	}
	return nil
}

// arePictured tells whether every column has a picture of a step.
func arePictured(j *job.Job, step int64, columns []column) bool {
	found := map[string]bool{}
	err := eachPicture(j, func(of int64, key, _ string) { found[key] = found[key] || of == step })
	for _, c := range columns {
		if !found[c.key] {
			return false
		}
	}
	return err == nil
}

// spread returns at most maxSheetRows steps in order, with the first and the last.
func spread(pictures map[int64][]string) []int64 {
	steps := make([]int64, 0, len(pictures))
	for step := range pictures {
		steps = append(steps, step)
	}
	sort.Slice(steps, func(i, k int) bool { return steps[i] < steps[k] })
	if len(steps) <= maxSheetRows {
		return steps
	}
	chosen := make([]int64, maxSheetRows)
	for i := range chosen {
		chosen[i] = steps[i*(len(steps)-1)/(maxSheetRows-1)]
	}
	return chosen
}

var sampleNames = map[string]*regexp.Regexp{
	job.StyleAIToolkit:   regexp.MustCompile(`^\d+__(\d{9,})(_\d+)\.png$`),
	job.StyleSimpleTuner: regexp.MustCompile(`^step_(\d+)(_.+)\.png$`),
	job.StyleFolders:     regexp.MustCompile(`^(\d{9,})(_.+)\.png$`),
}

// parseSampleName is the inverse of sampleStem: key is what names of one picture have in common at all steps.
func parseSampleName(style, name string) (step int64, key string, ok bool) {
	pattern := sampleNames[style]
	if pattern == nil {
		pattern = sampleNames[job.StyleFolders]
	}
	match := pattern.FindStringSubmatch(name)
	if match == nil {
		return 0, "", false
	}
	step, err := strconv.ParseInt(match[1], 10, 64)
	return step, match[2], err == nil
}

// title names a column.
func (p picture) title() string {
	title := p.prompt.Text
	if title == "" {
		title = strings.ReplaceAll(p.prompt.Name, "_", " ")
	}
	if p.averaged {
		title += " (averaged)"
	}
	return title
}
