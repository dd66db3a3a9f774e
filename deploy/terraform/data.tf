# PostgreSQL with a database and a user for each service, Redis for spent ids and identity status, and Firestore for the
# spent ids of the functions, which reach no private address.

resource "google_sql_database_instance" "shop" {
  name                = "shop"
  database_version    = "POSTGRES_16"
  region              = var.region
  deletion_protection = true

  settings {
    edition           = "ENTERPRISE"
    tier              = var.database_tier
    availability_type = var.highly_available ? "REGIONAL" : "ZONAL"

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.shop.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
    }

    # 10 connections for each instance of a service at most (services/common/postgresql.py), and some for operators.
    database_flags {
      name  = "max_connections"
      value = tostring(var.database_connections)
    }
  }

  depends_on = [google_service_networking_connection.services]
}

resource "random_password" "database" {
  for_each = local.services

  length  = 32
  special = false
}

resource "google_sql_user" "service" {
  for_each = local.services

  name     = each.key
  instance = google_sql_database_instance.shop.name
  password = random_password.database[each.key].result
}

# A user that Cloud SQL makes is a member of cloudsqlsuperuser, so it can create its tables in its database.
resource "google_sql_database" "service" {
  for_each = local.services

  name     = each.key
  instance = google_sql_database_instance.shop.name
}

resource "google_redis_instance" "shop" {
  name                    = "shop"
  tier                    = var.highly_available ? "STANDARD_HA" : "BASIC"
  memory_size_gb          = 1
  redis_version           = "REDIS_7_2"
  region                  = var.region
  authorized_network      = google_compute_network.shop.id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  # By default Memorystore evicts keys when it is full. Then a spent token could be used once more.
  redis_configs = {
    maxmemory-policy = "noeviction"
  }

  depends_on = [google_service_networking_connection.services]
}

resource "google_firestore_database" "default" {
  name            = "(default)"
  location_id     = var.region
  type            = "FIRESTORE_NATIVE"
  deletion_policy = "ABANDON"

  depends_on = [google_project_service.api]
}

# Firestore deletes expired ids. Times that always grow must not be indexed: an index limits the collection to 500 writes
# a second (docs/production.md, "Firestore").
resource "google_firestore_field" "expires_at" {
  database   = google_firestore_database.default.name
  collection = "mstoken_spent_ids"
  field      = "expires_at"

  ttl_config {}

  index_config {}
}

resource "google_firestore_field" "mark" {
  database   = google_firestore_database.default.name
  collection = "mstoken_spent_ids"
  field      = "mark"

  index_config {}
}
