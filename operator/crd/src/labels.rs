//! Schemas of maps that Kubernetes gives to pods.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Labels, or a selector of them. Values are as Kubernetes allows them.
pub(crate) fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63 },
        "x-kubernetes-validations": [{
            "rule": "self.all(key, !format.qualifiedName().validate(key).hasValue() \
                && !format.labelValue().validate(self[key]).hasValue())",
            "message": "must be labels: keys as in example.com/team, \
                values of at most 63 letters, digits, '-', '_' and '.'",
        }],
    })
}

/// Annotations.
pub(crate) fn annotations_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 16384 },
        "x-kubernetes-validations": [{
            "rule": "self.all(key, !format.qualifiedName().validate(key.lowerAscii()).hasValue())",
            "message": "must be annotations: keys as in example.com/team",
        }],
    })
}

/// Amounts of resources by name, as in `cpu: 200m`.
pub(crate) fn resources_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 32 },
        "x-kubernetes-validations": [
            {
                "rule": "self.all(name, isQuantity(self[name]) \
                    && !quantity(self[name]).isLessThan(quantity('0')))",
                "message": "must be amounts of resources, as in cpu: 200m and memory: 512Mi",
            },
            {
                "rule": "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'])",
                "message": "resources may have cpu, memory and ephemeral-storage",
            },
        ],
    })
}
