// Command kubernetes reads a manifest as Kubernetes does, with its own types, and prints the
// objects as JSON, one a line. A field that Kubernetes does not know is an error. It is a module of
// its own, so that nobody who uses swarmgate gets those types.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// newObject returns an object of a kind, or nil.
func newObject(kind metav1.TypeMeta) metav1.Object {
	switch kind.APIVersion + " " + kind.Kind {
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "v1 Service":
		return &corev1.Service{}
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	}
	return nil
}

func main() {
	if err := check(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kubernetes:", err)
		os.Exit(1)
	}
}

// check reads documents, and writes objects.
func check(in io.Reader, out io.Writer) error {
	all, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var errs []error
	for doc := range bytes.SplitSeq(all, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			errs = append(errs, err)
			continue
		}
		o := newObject(kind)
		if o == nil {
			errs = append(errs, fmt.Errorf("%s %s is not among those that are known", kind.APIVersion, kind.Kind))
			continue
		}
		asJSON, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		strict, err := kjson.UnmarshalStrict(asJSON, o) // with an eye on upper and lower case, as a server has it
		for _, err := range append(strict, err) {
			if err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", kind.Kind, o.GetName(), err))
			}
		}
		for _, e := range validation.IsDNS1035Label(o.GetName()) {
			errs = append(errs, fmt.Errorf("%s %q: %s", kind.Kind, o.GetName(), e))
		}
		if s, ok := o.(*appsv1.StatefulSet); ok {
			for _, c := range s.Spec.Template.Spec.Containers {
				for _, p := range c.Ports {
					for _, e := range validation.IsValidPortName(p.Name) {
						errs = append(errs, fmt.Errorf("port %q: %s", p.Name, e))
					}
				}
			}
		}
		if err := json.NewEncoder(out).Encode(o); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
