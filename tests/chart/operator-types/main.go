// SPDX-License-Identifier: Apache-2.0

// Reads rendered manifests from standard input and checks what the Prometheus operator would read: ServiceMonitors,
// PodMonitors and PrometheusRules are decoded strictly by its own types, and every expression is parsed by Prometheus'
// own parser. Prints one line per mistake, then how many objects and expressions were checked.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

var mistakes, objects, expressions int

func mistake(format string, values ...any) {
	fmt.Printf(format+"\n", values...)
	mistakes++
}

func main() {
	reader := yamlreader.NewYAMLReader(bufio.NewReader(os.Stdin))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			mistake("not YAML: %v", err)
			break
		}
		if len(bytes.TrimSpace(document)) > 0 {
			check(document)
		}
	}
	fmt.Printf("checked %d objects, %d expressions\n", objects, expressions)
	if mistakes > 0 {
		os.Exit(1)
	}
}

func check(document []byte) {
	var meta metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(document, &meta); err != nil {
		mistake("not an object: %v", err)
		return
	}
	var into any
	switch meta.Kind {
	case monitoring.ServiceMonitorsKind:
		into = &monitoring.ServiceMonitor{}
	case monitoring.PodMonitorsKind:
		into = &monitoring.PodMonitor{}
	case monitoring.PrometheusRuleKind:
		into = &monitoring.PrometheusRule{}
	default:
		return
	}
	objects++
	if err := yaml.UnmarshalStrict(document, into); err != nil {
		mistake("%s %s: %v", meta.Kind, meta.Name, err)
	}
	if rule, ok := into.(*monitoring.PrometheusRule); ok {
		checkExpressions(rule)
	}
}

func checkExpressions(rule *monitoring.PrometheusRule) {
	for _, group := range rule.Spec.Groups {
		for _, one := range group.Rules {
			expressions++
			if _, err := parser.ParseExpr(one.Expr.String()); err != nil {
				mistake("%s: %v", one.Alert+one.Record, err)
			}
		}
	}
}
