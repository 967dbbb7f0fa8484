package main

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/stepd/stepd/sessions/sheet"
)

// wantedPSNR is the mean over all pictures that the demo must reach, dB.
const wantedPSNR = 24

// finish draws the contact sheet and tells what was measured.
func (d *demo) finish(took time.Duration) error {
	path := filepath.Join(d.out, "contact-sheet.png")
	rows := []sheet.Row{{Label: "originals", Pictures: d.pictures}}
	last, err := d.sampleRows(&rows)
	if err != nil {
		return err
	}
	if err := sheet.Write(path, d.captions, rows); err != nil {
		return err
	}
	mean, worst := 0.0, math.Inf(1)
	for i, picture := range d.pictures {
		psnr, err := sheet.PSNR(d.events.samples[last][i], picture)
		if err != nil {
			return err
		}
		mean, worst = mean+psnr/float64(len(d.pictures)), min(worst, psnr)
	}
	slices.Sort(d.events.seconds)
	median := d.events.seconds[len(d.events.seconds)/2]
	fmt.Printf("\n\n%d steps, median %.3f s a step, %.0f s in all\n", last, median, took.Seconds())
	fmt.Printf("pictures of step %d against the originals: PSNR %.1f dB mean, %.1f dB worst\n", last, mean, worst)
	fmt.Printf("contact sheet  %s\n", d.relative(path))
	fmt.Printf("trained files  %s\n", d.relative(filepath.Join(d.out, "outputs", "emoji")))
	d.nextCommands()
	if mean < wantedPSNR {
		return fmt.Errorf("the mean PSNR is %.1f dB, below %d dB", mean, wantedPSNR)
	}
	return nil
}

// sampleRows adds a row for every step with a picture of every prompt.
func (d *demo) sampleRows(rows *[]sheet.Row) (last int, err error) {
	d.events.mu.Lock()
	defer d.events.mu.Unlock()
	for step := everyStep; step <= lastStep; step += everyStep {
		files := d.events.samples[step]
		if len(files) != len(d.captions) {
			continue
		}
		row := sheet.Row{Label: fmt.Sprintf("step %d", step)}
		for i := range d.captions {
			row.Pictures = append(row.Pictures, files[i])
		}
		*rows, last = append(*rows, row), step
	}
	if last != lastStep {
		return 0, fmt.Errorf("there are no pictures of step %d", lastStep)
	}
	return last, nil
}

func (d *demo) nextCommands() {
	serve := fmt.Sprintf("bin/stepd serve --listen %s --data %s --no-auth", d.server.Address, d.relative(filepath.Join(d.out, "data")))
	fmt.Printf("\ntry next:\n  %s &\n", serve)
	fmt.Printf("  curl http://%s/sessions/emoji\n", d.server.Address)
	fmt.Printf("  curl -X POST http://%s/sessions/emoji/steps -H 'Content-Type: application/json' -d '{\"steps\": 50}'\n", d.server.Address)
	fmt.Printf("  curl -N http://%s/sessions/emoji/logs/stream\n", d.server.Address)
}

func (d *demo) relative(path string) string {
	if here, err := filepath.Abs("."); err == nil {
		if shorter, err := filepath.Rel(here, path); err == nil {
			return shorter
		}
	}
	return path
}
