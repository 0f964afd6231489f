package cli

import "github.com/spf13/pflag"

// ImageOptions say how a node gets images. Zero marks are the agent's own.
type ImageOptions struct {
	Auth       string   // file of logins, as docker's config.json
	Registries string   // file of mirrors and the like
	Verify     string   // program that must accept an image
	Keys       []string // files with public keys, one of which must have signed it
	// In percent of the disk; see agent.Marks.
	DiskHigh, DiskLow, DiskFull int
}

func (o *ImageOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.Auth, "registry-auth", "", "`file` with logins, as docker's config.json")
	f.StringVar(&o.Registries, "registry-config", "", "`file` with mirrors and CAs, in JSON")
	f.StringVar(&o.Verify, "image-verify", "", "`program` that must accept an image")
	f.StringArrayVar(&o.Keys, "image-key", nil, "`file` with keys that sign images; repeatable")
	f.IntVar(&o.DiskHigh, "disk-high", 85, "`percent` from which unused images go")
	f.IntVar(&o.DiskLow, "disk-low", 75, "`percent` down to which they go")
	f.IntVar(&o.DiskFull, "disk-full", 95, "`percent` from which no task starts")
}
