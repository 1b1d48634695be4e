package server

import (
	"testing"
	"testing/fstest"
)

func TestCgroupLimit(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  int64 // 0 for none
	}{
		{"no cgroups", nil, 0},
		{"version 2", map[string]string{
			"proc/self/cgroup": "0::/system.slice/gw.service\n",
			"sys/fs/cgroup/system.slice/gw.service/memory.max": "268435456\n",
		}, 256 << 20},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup":           "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "max\n",
		}, 0},
		{"the limit is that of an outer one", map[string]string{
			"proc/self/cgroup":               "0::/a/b/c\n",
			"sys/fs/cgroup/a/memory.max":     "1000\n",
			"sys/fs/cgroup/a/b/memory.max":   "max\n",
			"sys/fs/cgroup/a/b/c/memory.max": "2000\n",
		}, 1000},
		{"a container of version 2", map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "5000\n",
		}, 5000},
		{"version 1", map[string]string{
			"proc/self/cgroup": "9:name=systemd:/\n4:memory:/gw\n0::/\n",
			"sys/fs/cgroup/memory/gw/memory.limit_in_bytes": "268435456\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":    "9223372036854771712\n",
		}, 256 << 20},
		{"a container of version 1, which reads the host's path", map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/0123\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n",
		}, 7000},
	} {
		root := fstest.MapFS{}
		for name, text := range test.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got, ok := cgroupLimit(root); got != test.want || ok != (test.want > 0) {
			t.Errorf("%s: %d, %v, want %d", test.name, got, ok, test.want)
		}
	}
}
