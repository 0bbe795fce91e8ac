"""HTTP beside the Kafka listeners: metrics and health. It never serves records and knows no Kafka message."""
