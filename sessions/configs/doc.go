// Package configs keeps SimpleTuner's environments in a folder, laid out as SimpleTuner lays them out, so that an existing
// folder can be used as it is:
//
//	DIR/<name>/config.json                 options of an environment: one flat JSON object
//	DIR/<name>/.metadata.json              description, tags, dates
//	DIR/<name>/multidatabackend.json       its dataloader: a JSON list
//	DIR/<name>/lycoris_config.json         optional
//	DIR/<name>.json, <name>.metadata.json  an environment without a folder
//	DIR/webhooks/<name>.json               receivers of events
//	DIR/templates/<name>.json              starting points, besides those that the program carries
//	DIR/.active.json                       which environment is active
//
// Every path is opened through an os.Root, so nothing outside the folder is ever read or written. Every change is durable
// and atomic: a crash leaves the old or the new file, and an environment with a folder appears and goes as a whole.
package configs
