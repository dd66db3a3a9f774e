resource "google_compute_network" "shop" {
  name                    = "shop"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

# Each instance of a service takes an address of this range, and keeps it for a while after its end.
resource "google_compute_subnetwork" "shop" {
  name                     = "shop"
  network                  = google_compute_network.shop.id
  region                   = var.region
  ip_cidr_range            = "10.8.0.0/22"
  private_ip_google_access = true
}

# Cloud SQL and Memorystore get addresses of this range ("Private services access").
resource "google_compute_global_address" "services" {
  name          = "shop-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.shop.id
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.shop.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}
